"""Mathematics that several defenses share."""
