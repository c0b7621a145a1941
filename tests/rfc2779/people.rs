//! 2.1, 4.1 and 4.2.1 as people see them: what `impart` writes, and what it shows of what others write.
