# environments
.venv/

# caches
__pycache__/
.pytest_cache/

# what the app leaves behind
.allotrope/
