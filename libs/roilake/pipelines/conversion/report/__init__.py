"""What the page of a conversion night shows beside what every page does."""
