"""Trials of the modular study: constructed and fitted students, students trained by descent, networks that adapt to few-shot tasks, and two worlds."""

from __future__ import annotations

from dataclasses import replace

from mesocosm.studies.interface import Trial
from mesocosm.studies.modular.config import Config, Descent, Hyperteacher, Method, Support, Training, Variant
from mesocosm.studies.modular.constructions import check_constructions
from mesocosm.studies.modular.descent import DescentArm, build_student, descend
from mesocosm.studies.modular.identification import identify
from mesocosm.studies.modular.imitation import WorldArm, build_world_arm, train_in_world, world_name
from mesocosm.studies.modular.teachers import TeacherArm, build_teacher_arm, problem_name, train_on_teacher
from mesocosm.studies.modular.worlds import draw_worlds

HALVES: tuple[Support, ...] = ("connected", "disconnected")


def trials(config: Config) -> list[Trial]:
    """All trials; networks of one method share a compiled program where their tasks have equal shapes."""
    found = [
        Trial("constructions", check_constructions, config.constructions, precision="float64", seeds=1),
        Trial("identification", identify, config.identification, precision="float64", seeds=config.identification.replicates),
        Trial("worlds", draw_worlds, None, seeds=1),
    ]
    found += [
        Trial(
            f"identification-{modules}", identify, replace(config.identification, modules=modules), precision="float64", seeds=config.identification.replicates
        )
        for modules in config.fewer_modules
    ]
    if config.descent.steps:
        found += [_descends(name, DescentArm(name, config.descent)) for name in ("connected", "reordered", "disconnected", "apart")]
        hidden = {"discrete": (*config.many_hidden, *config.many_discrete), "continuous": config.many_hidden}
        found += [
            _descends(f"{codes}-{modules}x{units}", _many(config.descent, modules, units, codes == "discrete"))
            for codes, sizes in hidden.items()
            for units in sizes
            for modules in config.many
        ]
    problems = [config.teacher]
    if config.harder:
        problems += [replace(config.teacher, active=1), replace(config.teacher, support="non-compositional")]
    found += [_adapts(config, problem, method, config.training.of(method)) for problem in problems for method in config.methods]
    if config.halves:
        halves = [replace(config.teacher, modules=config.halves, support=support) for support in HALVES]
        found += [_adapts(config, problem, "linear", replace(config.training.linear, steps=config.halves_steps)) for problem in halves]
    return found + _variants(config) + _imitates(config)


def _many(descent: Descent, modules: int, hidden: int, discrete: bool) -> DescentArm:
    return DescentArm("singles", replace(descent, more_modules=modules, more_hidden=hidden, replicates=None), discrete)


def _descends(name: str, arm: DescentArm) -> Trial:
    return Trial(f"descent-{name}", descend, arm, models={"student": build_student}, seeds=arm.descent.replicates)


def _variants(config: Config) -> list[Trial]:
    """Linear hypernetworks with fewer points or hidden units, and one that differs from the usual one in nothing but its start."""
    usual, found = config.training.linear, []
    if config.few_points:
        found.append(_adapts(config, replace(config.teacher, points=config.few_points), "linear", usual, "-few"))
    if config.narrow:
        found.append(_adapts(config, config.teacher, "linear", replace(usual, width=config.narrow), "-narrow"))
    return [*found, _adapts(config, config.teacher, "linear", usual, "-again")] if found else []


def _imitates(config: Config) -> list[Trial]:
    """Networks in both worlds."""
    chosen = config.imitation
    valued = config.methods if chosen.preference_methods is None else chosen.preference_methods
    worlds = [(replace(chosen.preferences, support=support), chosen.values, valued) for support in chosen.preference_supports]
    worlds += [(replace(chosen.goals, support=support), chosen.actions, config.methods) for support in chosen.goal_supports]
    found = [_trains(WorldArm(world, method, training.of(method), chosen.tasks)) for world, training, methods in worlds for method in methods]
    for support in chosen.linear_supports:
        world, training = replace(chosen.preferences, support=support), chosen.values.linear
        if support in HALVES:
            world, training = replace(world, active=2), replace(training, steps=chosen.halves_steps)
        found.append(_trains(WorldArm(world, "linear", training, chosen.tasks)))
    if chosen.shorter_codes > 1:
        world = replace(chosen.preferences, codes=chosen.preferences.codes // chosen.shorter_codes)
        found.append(_trains(WorldArm(world, "linear", chosen.values.linear, chosen.tasks), "-short"))
    if chosen.scaled != 1:
        training = replace(chosen.actions.linear, width=round(chosen.scaled * chosen.actions.linear.width))
        found.append(_trains(WorldArm(replace(chosen.goals, codes=round(chosen.scaled * chosen.goals.codes)), "linear", training, chosen.tasks), "-scaled"))
    return found


def _trains(arm: WorldArm, suffix: str = "") -> Trial:
    return Trial(f"{world_name(arm.world)}-{arm.method}{suffix}", train_in_world, arm, models={"network": build_world_arm}, over_seeds="map")


def _adapts(config: Config, problem: Hyperteacher, method: Method, training: Training, variant: Variant = "") -> Trial:
    arm = TeacherArm(problem, method, training, config.evaluation, variant)
    return Trial(f"{problem_name(problem)}-{method}{variant}", train_on_teacher, arm, models={"network": build_teacher_arm}, over_seeds="map")
