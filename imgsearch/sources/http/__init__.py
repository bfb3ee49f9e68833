"""Pictures behind http(s) links: addresses, connections, downloads into memory; loaded when the first link is met."""
