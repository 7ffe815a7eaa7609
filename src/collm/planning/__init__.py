"""What a configuration will need in memory, time, disk and money, before anything runs."""
