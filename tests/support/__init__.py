"""What several test files share: toy domains and teams, stand-ins, golden rows, result files."""
