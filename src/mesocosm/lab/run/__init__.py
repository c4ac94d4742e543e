"""How a study is run: the plan, the trials one after another, the dry run, another's run made again."""
