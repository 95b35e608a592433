lock:  ## Write the lock files again from pyproject.toml and requirements/*.in (needs uv)
	$(LOCK) pyproject.toml --excludes requirements/not-needed.txt -o requirements/default.txt
	$(LOCK) requirements/dev.in -c requirements/default.txt -o requirements/dev.txt
	$(LOCK) requirements/build.in -o requirements/build.txt
	$(LOCK) --no-deps requirements/bundled.in -o requirements/bundled.txt
