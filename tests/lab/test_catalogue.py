"""Studies are found by name, ours and those of installed packages, and a wrong name says what is near."""

import pytest

from mesocosm.lab.catalogue import find, packages, suggestion
from mesocosm.lab.errors import UserError


def install(folder, monkeypatch, package: str, code: str) -> None:
    """Put a package that announces a study on the path, as an installer would."""
    (folder / package).mkdir()
    (folder / package / "__init__.py").write_text(code)
    (folder / f"{package}-0.dist-info").mkdir()
    (folder / f"{package}-0.dist-info" / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 0\n")
    (folder / f"{package}-0.dist-info" / "entry_points.txt").write_text(f"[mesocosm.studies]\n{package} = {package}\n")
    monkeypatch.syspath_prepend(str(folder))


def test_entry_point_is_found_by_both_spellings():
    assert packages()["toy-study"] == "toy_study"
    assert find("toy-study") is find("toy_study")
    assert find("toy-study").title == "Balls roll downhill"


def test_our_own_studies_come_first_and_by_name():
    ours = [name for name, package in packages().items() if package.startswith("mesocosm.studies.")]
    assert list(packages())[: len(ours)] == sorted(ours)


def test_unknown_study_names_the_nearest():
    with pytest.raises(UserError, match="did you mean 'toy-study'"):
        find("toy-stdy")


def test_study_that_cannot_be_imported_is_the_users_to_mend(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, "broken_study_a", "import a_module_that_is_not_there\n")
    with pytest.raises(UserError, match=r"broken-study-a.*a_module_that_is_not_there"):
        find("broken-study-a")


@pytest.mark.parametrize(("code", "told"), [("1 / 0\n", "ZeroDivisionError"), ("def\n", "SyntaxError"), ("None.x\n", "AttributeError")])
def test_study_that_raises_when_it_is_imported_is_the_users_to_mend(tmp_path, monkeypatch, code, told):
    install(tmp_path, monkeypatch, f"broken_study_{told.lower()}", code)
    with pytest.raises(UserError, match=rf"broken-study-{told.lower()}' cannot be imported from .*: {told}: "):
        find(f"broken-study-{told.lower()}")


def test_package_without_study_is_the_users_to_mend(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, "broken_study_b", "")
    with pytest.raises(UserError, match="does not define STUDY"):
        find("broken-study-b")


def test_suggestions():
    assert suggestion("smok", ["smoke", "quick"]) == "; did you mean 'smoke'? (smoke, quick)"
    assert suggestion("zzz", ["smoke", "quick"]) == "; available: smoke, quick"
    assert suggestion("zzz", []) == ""
    assert suggestion("zzz", [str(number) for number in range(99)]) == ""
