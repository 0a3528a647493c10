"""What every package needs: errors, files, downloads, devices, the console."""
