[project]
name = "PROJECT"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["allotrope"]

[project.optional-dependencies]
test = ["pytest>=8"]

[tool.pytest.ini_options]
pythonpath = ["."]
testpaths = ["tests"]
