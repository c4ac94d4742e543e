"""How a study is run: run store, resume, judging, report. Knows the interface and no particular study."""
