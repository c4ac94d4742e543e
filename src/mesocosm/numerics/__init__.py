"""How the library's programs are compiled, and linear algebra that cannot deadlock them. The lowest floor: everything may use it."""
