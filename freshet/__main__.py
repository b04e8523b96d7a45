"""`python -m freshet`."""

from freshet.cli import main

raise SystemExit(main())
