"""From grades to numbers: tables and statistics. Knows no model, no figure and no prose."""
