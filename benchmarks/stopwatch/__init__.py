"""How every benchmark here measures, judges and keeps its numbers."""
