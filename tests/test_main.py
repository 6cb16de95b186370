import subprocess
import sys


def test_unsupported_platform_is_rejected() -> None:
    code = "import sys; sys.platform = 'win32'; from runner.__main__ import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "error: runner needs Linux or macOS; on Windows run it in WSL\n")
