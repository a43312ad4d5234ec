//! Opens the device that a name stands for.

use crate::error::{ModelError, Result};
use tandem_shape::DeviceName;
use tch::Device;

/// The device, if it is there. Call it on the thread that will compute.
///
/// # Errors
/// When libtorch was built without CUDA or sees no such device.
pub fn open_device(name: DeviceName) -> Result<Device> {
    match name {
        DeviceName::Cpu => Ok(Device::Cpu),
        DeviceName::Cuda(number) => {
            let devices = tch::Cuda::device_count().max(0) as usize;
            if number < devices {
                return Ok(Device::Cuda(number));
            }
            Err(ModelError::Device {
                device: name.to_string(),
                why: format!("libtorch sees {devices} CUDA devices; set LIBTORCH to a CUDA build"),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_is_not_there_is_refused_by_name() {
        assert_eq!(open_device(DeviceName::Cpu).unwrap(), Device::Cpu);
        let message = open_device(DeviceName::Cuda(1000)).unwrap_err().to_string();
        assert!(message.contains("cuda:1000"), "{message}");
    }
}
