"""The episode browser: what every team was shown, answered and told, as one page that needs no network."""
