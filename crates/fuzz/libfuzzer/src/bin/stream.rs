#![no_main]
tandem_libfuzzer::program!("stream");
