"""Building in a block world: strings (StrBuild) and houses with spiders (HouseBuild)."""
