"""Compile options of the library's programs, and linear algebra that cannot deadlock them. This is the lowest floor; everything may use it."""
