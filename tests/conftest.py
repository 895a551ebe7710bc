"""What holds for all tests: how long an example takes is the machine's affair, not the code's."""

from hypothesis import settings

settings.register_profile("kwota", deadline=None)
settings.load_profile("kwota")
