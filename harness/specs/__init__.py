"""How a plugin's part is named: ``ridge``, ``hog(cells=7)``, ``pipeline(STEP, STEP(C=0.1))``."""
