# Makes .venv from requirements.lock with uv. Where uv is not installed, pip installs it first, from the same lock.
set -e
for python in python3 python3.11 python3.12 python3.13; do
  if "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then found=$python; break; fi
done
if [ -z "$found" ]; then
  echo "Fairsweep needs Python 3.11, 3.12 or 3.13 on the PATH; python3 is: $(python3 --version 2>&1 || true)." >&2
  exit 1
fi
echo "Installing the packages of requirements.lock into .venv. This takes about a minute and 4 GB of disk space."
base=$("$found" -c 'import sys; print(sys._base_executable)')
rm -rf .venv
if uv=$(command -v uv) && "$uv" --version >/dev/null 2>&1; then
  "$base" -m venv --without-pip .venv
else
  "$base" -m venv .venv
  sed -n '/^uv==/,/# via/p' requirements.lock > .venv/uv.txt
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement .venv/uv.txt || true
  uv=.venv/bin/uv
fi
with_pip() { .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock; }
# uv does not read pip's settings, so where they name a mirror only pip may reach the packages.
if ! "$uv" pip install --quiet --compile-bytecode --python .venv/bin/python --require-hashes --requirement requirements.lock && ! with_pip; then
  echo "error: the packages could not be installed. Check the network and run make again; downloaded packages are kept." >&2
  exit 1
fi
touch .venv/bin/ready
