"""What stands behind a release: builds that can be repeated, licences, a list of what it consists of."""
