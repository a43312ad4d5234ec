#![no_main]
tandem_libfuzzer::program!("chat_template");
