"""mesocosm: what emerges when networks learn, ten papers as one system."""
