from iotd.cli import main

main()
