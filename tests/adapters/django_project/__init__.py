"""The Django project of the tests: settings, views with and without marks, and URLconfs."""
