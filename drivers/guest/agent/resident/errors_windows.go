// This file names the errors of Windows without asking Windows: its own texts lie in a file on the disk, and to look one up
// while the disk hangs would hang as well. For the same reason an error is put into words only when somebody reads it.

package resident

import (
	"errors"
	"fmt"

	"golang.org/x/sys/windows"
)

// callError is a call that failed. Unlike fmt.Errorf it does not put the cause into words yet.
type callError struct {
	what string
	err  error
}

func (e *callError) Error() string { return e.what + ": " + errText(e.err) }
func (e *callError) Unwrap() error { return e.err }

// failed says what was being done when a call failed; nil stays nil.
func failed(what string, err error) error {
	if err == nil {
		return nil
	}
	return &callError{what, err}
}

// names are the errors that a disk which fails is likely to bring, by their names in winerror.h.
var names = map[windows.Errno]string{
	windows.ERROR_INVALID_FUNCTION:      "incorrect function (ERROR_INVALID_FUNCTION)",
	windows.ERROR_FILE_NOT_FOUND:        "file not found (ERROR_FILE_NOT_FOUND)",
	windows.ERROR_PATH_NOT_FOUND:        "path not found (ERROR_PATH_NOT_FOUND)",
	windows.ERROR_ACCESS_DENIED:         "access denied (ERROR_ACCESS_DENIED)",
	windows.ERROR_INVALID_HANDLE:        "the handle is invalid (ERROR_INVALID_HANDLE)",
	windows.ERROR_NOT_ENOUGH_MEMORY:     "not enough memory (ERROR_NOT_ENOUGH_MEMORY)",
	windows.ERROR_WRITE_PROTECT:         "the media is write protected (ERROR_WRITE_PROTECT)",
	windows.ERROR_NOT_READY:             "the device is not ready (ERROR_NOT_READY)",
	windows.ERROR_CRC:                   "data error, cyclic redundancy check (ERROR_CRC)",
	windows.ERROR_SEEK:                  "the place on the disk cannot be found (ERROR_SEEK)",
	windows.ERROR_SECTOR_NOT_FOUND:      "the sector cannot be found (ERROR_SECTOR_NOT_FOUND)",
	windows.ERROR_WRITE_FAULT:           "cannot write to the device (ERROR_WRITE_FAULT)",
	windows.ERROR_READ_FAULT:            "cannot read from the device (ERROR_READ_FAULT)",
	windows.ERROR_GEN_FAILURE:           "a device does not function (ERROR_GEN_FAILURE)",
	windows.ERROR_SHARING_VIOLATION:     "another process uses the file (ERROR_SHARING_VIOLATION)",
	windows.ERROR_LOCK_VIOLATION:        "another process locked the file (ERROR_LOCK_VIOLATION)",
	windows.ERROR_HANDLE_DISK_FULL:      "the disk is full (ERROR_HANDLE_DISK_FULL)",
	windows.ERROR_NOT_SUPPORTED:         "the request is not supported (ERROR_NOT_SUPPORTED)",
	windows.ERROR_DEV_NOT_EXIST:         "the device is no longer available (ERROR_DEV_NOT_EXIST)",
	windows.ERROR_INVALID_PARAMETER:     "the parameter is incorrect (ERROR_INVALID_PARAMETER)",
	windows.ERROR_DISK_FULL:             "not enough space on the disk (ERROR_DISK_FULL)",
	windows.ERROR_SEM_TIMEOUT:           "the timeout period has expired (ERROR_SEM_TIMEOUT)",
	windows.ERROR_DIRECTORY:             "the folder name is invalid (ERROR_DIRECTORY)",
	windows.ERROR_OPERATION_ABORTED:     "the operation was aborted (ERROR_OPERATION_ABORTED)",
	windows.ERROR_SWAPERROR:             "error on an in-page operation (ERROR_SWAPERROR)",
	windows.ERROR_UNRECOGNIZED_VOLUME:   "the volume has no recognized file system (ERROR_UNRECOGNIZED_VOLUME)",
	windows.ERROR_FILE_INVALID:          "the volume was changed from outside (ERROR_FILE_INVALID)",
	windows.ERROR_IO_DEVICE:             "I/O device error (ERROR_IO_DEVICE)",
	windows.ERROR_DISK_OPERATION_FAILED: "a disk operation failed even after retries (ERROR_DISK_OPERATION_FAILED)",
	windows.ERROR_DISK_RESET_FAILED:     "a disk reset failed (ERROR_DISK_RESET_FAILED)",
	windows.ERROR_FILE_CORRUPT:          "the file or folder is corrupted (ERROR_FILE_CORRUPT)",
	windows.ERROR_DISK_CORRUPT:          "the disk structure is corrupted (ERROR_DISK_CORRUPT)",
	windows.ERROR_DEVICE_NOT_CONNECTED:  "the device is not connected (ERROR_DEVICE_NOT_CONNECTED)",
	windows.ERROR_NO_SUCH_DEVICE:        "a device which does not exist (ERROR_NO_SUCH_DEVICE)",
	windows.ERROR_DEVICE_REMOVED:        "the device was removed (ERROR_DEVICE_REMOVED)",
	windows.ERROR_DEVICE_HARDWARE_ERROR: "the device has a hardware error (ERROR_DEVICE_HARDWARE_ERROR)",
	windows.ERROR_NO_SYSTEM_RESOURCES:   "not enough system resources (ERROR_NO_SYSTEM_RESOURCES)",
	windows.ERROR_WORKING_SET_QUOTA:     "not enough working set quota (ERROR_WORKING_SET_QUOTA)",
	windows.ERROR_PRIVILEGE_NOT_HELD:    "a privilege is not held (ERROR_PRIVILEGE_NOT_HELD)",
	windows.ERROR_NOT_ALL_ASSIGNED:      "not all privileges are held (ERROR_NOT_ALL_ASSIGNED)",
	windows.ERROR_NOACCESS:              "invalid access to memory (ERROR_NOACCESS)",
	windows.ERROR_INVALID_USER_BUFFER:   "the buffer is not valid for the operation (ERROR_INVALID_USER_BUFFER)",
	windows.ERROR_CANT_ACCESS_FILE:      "the file cannot be accessed by the system (ERROR_CANT_ACCESS_FILE)",
	windows.ERROR_DELETE_PENDING:        "the file is being deleted (ERROR_DELETE_PENDING)",
}

// errText names an error: words and the symbol of winerror.h, without the file's name.
func errText(err error) string {
	if err == nil {
		return ""
	}
	var no windows.Errno
	if errors.As(err, &no) {
		if s, ok := names[no]; ok {
			return s
		}
		return fmt.Sprintf("Windows error %d", uint32(no))
	}
	var status windows.NTStatus
	if errors.As(err, &status) {
		return fmt.Sprintf("status %#x of Windows", uint32(status))
	}
	return err.Error()
}
