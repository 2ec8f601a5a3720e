"""What attacks are called that no plugin brings."""

OWN = "own"
"""The attack that a defense knows for itself: :meth:`harness.Defense.attack`."""
ADAPTIVE = "adaptive"
"""The attack that knows nothing of the defense, and watches what its training brings about."""
