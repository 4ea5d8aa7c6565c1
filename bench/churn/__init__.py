"""An hour's worth of comings and goings in minutes, and whether everything is given back."""
