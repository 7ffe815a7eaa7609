"""What a reader needs to judge a number: captions with n and bands, spread of times, measures that no reward enters."""
