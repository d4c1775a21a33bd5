"""Everything that makes the demo model again from nothing; no part of the installed package."""
