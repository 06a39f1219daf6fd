"""A real Home Assistant to test against: start it, live in it, restore into it. Python's standard library only."""
