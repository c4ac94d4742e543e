"""placeholder"""
CLAIMS = []
