"""What is wrong with an inventory, or with the hosts that it names, before anything is changed."""

import sys
from pathlib import Path

# The filters lie where Ansible wants them, outside of any package.
sys.path.append(str(Path(__file__).resolve().parent.parent / "ansible" / "plugins" / "filter"))
