"""Notes on verdicts of the cocoa study about learned models: what was found and tried where a row does not hold."""

NOTES: dict[str, str] = {}
