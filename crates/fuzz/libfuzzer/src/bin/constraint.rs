#![no_main]
tandem_libfuzzer::program!("constraint");
