"""The fault matrix: each row breaks something, and holds what was injected against what was counted.

`make faults` runs it. ``python -m matrix`` (with tests/ on PYTHONPATH) has the options.

==============  =======================================================================================
module          what
==============  =======================================================================================
`rows`          one function a fault: inject, collect, compare; each with the line that must turn it red
`attacks`       the rows in which clients attack the relay
`surroundings`  the rows in which the reader of its log, or the disk, fails
`scene`         a relay that is attacked, beside one that is not
`bench`         the hosts and programs of a row, and the comparisons that make its verdict
`daq`           a DAQ with serial numbers in its data, as a program
`impairer`      loss, duplicates, reorder, truncation, delay of UDP, from a seed, as a program
`junk`          random and mutated datagrams among good ones, as a program
`attacker`      clients that attack a relay, as a program
`fake_relay`    random messages among good ones, as a program
`monitor`       the receivers under test, as a program; notes what it was handed, serial by serial
`model_clock`   shifts the clocks of one process
`mutants`       a copy of the code with one line broken
`soak`          all of it at random, for minutes
==============  =======================================================================================

What was injected comes from the injector's own log, nft's counters or the kernel's; what arrived, from the
serials that the program was handed. Nothing here imports the code under test but `monitor`.
"""
