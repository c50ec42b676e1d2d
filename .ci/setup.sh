# Makes .venv from requirements.lock with uv. Where uv is not installed, pip installs it first, from the same lock.
set -e
for python in python3 python3.11 python3.12 python3.13; do
  if "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then found=$python; break; fi
done
if [ -z "$found" ]; then
  echo "Fairsweep needs Python 3.11, 3.12 or 3.13 on the PATH; python3 is: $(python3 --version 2>&1 || true)." >&2
  exit 1
fi
echo "Installing the packages of requirements.lock into .venv: about a minute, and a gigabyte on disk."
"$found" -m venv --clear .venv
if ! uv=$(command -v uv); then
  sed -n '/^uv==/,/# via/p' requirements.lock > .venv/uv.txt
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement .venv/uv.txt
  uv=.venv/bin/uv
fi
if ! "$uv" pip install --quiet --python .venv/bin/python --require-hashes --requirement requirements.lock; then
  echo "error: the packages could not be installed. Check the network and run make again; downloaded packages are kept." >&2
  exit 1
fi
touch .venv/bin/ready
