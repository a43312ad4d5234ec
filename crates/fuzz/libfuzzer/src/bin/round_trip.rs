#![no_main]
tandem_libfuzzer::program!("round_trip");
