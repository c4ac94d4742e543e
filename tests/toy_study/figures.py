"""What the toy study shows."""

import altair as alt

from mesocosm.studies.interface import Figure, View


def heights(view: View) -> alt.Chart:
    return (
        alt.Chart(view.table("heights"))
        .mark_circle(size=60)
        .encode(
            x=alt.X("start", type="quantitative", title="initial height"),
            y=alt.Y("end", type="quantitative", title="final height"),
            color=alt.Color("trial", type="nominal", title="arm"),
            tooltip=["trial", "seed", "start", "end"],
        )
        .properties(width=420, height=280)
    )


def missing(view: View) -> alt.Chart:
    return alt.Chart(view.table("never-written")).mark_point()


FIGURES = [
    Figure("heights", "Where the balls end", "Each dot is one ball: where it started and where it came to rest.", heights),
    Figure("missing", "What nobody measured", "A figure whose table no trial wrote.", missing),
]
