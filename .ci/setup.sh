# Makes .venv from requirements.lock, with uv where it is installed and pip otherwise.
set -e
for python in python3 python3.11 python3.12 python3.13; do
  if "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then found=$python; break; fi
done
if [ -z "$found" ]; then
  echo "Fairsweep needs Python 3.11, 3.12 or 3.13 on the PATH; python3 is: $(python3 --version 2>&1 || true)." >&2
  exit 1
fi
if command -v uv >/dev/null 2>&1; then
  uv venv --quiet --clear --python "$("$found" -c 'import sys; print(sys.executable)')" .venv
  uv pip install --quiet --python .venv --require-hashes -r requirements.lock
else
  "$found" -m venv --clear .venv
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
fi
touch .venv/bin/ready
