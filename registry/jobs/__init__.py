"""What the registry does by itself, on a schedule: small steps that several workers may take at the same time."""
