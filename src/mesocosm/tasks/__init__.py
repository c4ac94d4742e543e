"""What networks are asked: generators of in-context problems, pure functions of a key."""
