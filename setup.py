"""What pyproject.toml cannot say: files of `config/` travel inside the package, as `collm/defaults`."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages("src"), "collm.defaults"],
    package_dir={"": "src", "collm.defaults": "config"},
    package_data={
        "collm": ["domains/embedded/*", "report/*.csv", "report/*/static/*"],
        "collm.defaults": ["*.yaml", "*.json"],
    },
)
