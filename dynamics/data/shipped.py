"""How many images packages ship, known without loading them."""

SHIPPED_COUNTS = {"mnist": 5000, "digits": 1797}
