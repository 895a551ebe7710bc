#!/bin/sh
# One long demonstration, in the directory $1 with the interpreter $2, so that tests can judge it:
# verdict.json, said.txt, and, once it has ended, code. It runs beside whatever else is checked.
set -u
cd "$1" || exit 1
echo $$ >pid
export TMPDIR="$1"
"$2" -m agent demo --miners 60 --window-s 120 --windows 3 --exit --json >verdict.json 2>said.txt
echo $? >code.part
mv code.part code
