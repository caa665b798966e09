"""The records and specs that everything else speaks of. Knows no model, no path and no figure."""
